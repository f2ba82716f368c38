"""The study's figures, one file a figure: ``plot(frame, ax, ...)`` draws a tidy frame on an Axes and nothing else."""
