"""What can be watched while an evaluation runs: progress, trackers, videos."""
