"""What can be wrong with a model that the user names."""

from __future__ import annotations

from vlagen.assets.errors import VlagenError


class BadConfiguration(VlagenError, ValueError):
    """A config.json that says too little, contradicts itself or asks for what is not built in."""


class BadCheckpoint(VlagenError):
    """A folder or hub repository that cannot be loaded as it is."""


class BadAdapter(VlagenError):
    """A LoRA folder that cannot be loaded, or does not fit the model."""


class MissingLibrary(VlagenError, ImportError):
    """An optional package that the request needs and the machine does not have."""


class BadInput(VlagenError, ValueError):
    """Tensors that do not fit the model."""


class BadOption(VlagenError, ValueError):
    """An option of the policy that means nothing, or not beside the others."""
