"""The client's side of a connection, whatever it speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote import own
from vlagen.benchmark.remote.declarations import Declaration
from vlagen.benchmark.remote.limits import WireError
from vlagen.benchmark.remote.link import Address, Link
from vlagen.benchmark.remote.packing import Packer
from vlagen.benchmark.remote.settings import Settings
from vlagen.tasks.interface import Observation

LONGEST_COMPLAINT = 2000
"""Characters of a server's error that are kept."""

_LARGEST_CHUNK = 4096


class Session(ABC):
    """One conversation with a server.

    Args:
        address: the server's.
        settings: how to talk to it.

    Attributes:
        declaration: what the server said; None before ``open``.
        self_contained: the protocol lets no request depend on those before, so that any may be repeated.
    """

    self_contained = False

    def __init__(self, address: Address, settings: Settings) -> None:
        self.declaration: Declaration | None = None
        self._address = address
        self._settings = settings
        self._packer = Packer()
        self._link = Link(address, settings.tls, settings.timeout)

    @property
    def is_open(self) -> bool:
        """Tells whether there is a connection, as far as is known."""
        return self._link.is_open

    def open(self, until: float) -> None:
        """Connects and lets the server introduce itself.

        Args:
            until: see ``Link.open``.

        Raises:
            LostServer: there is none.
            PolicyError: it does not speak this protocol.
        """
        self._link.open(until)
        with understood(self._address):
            self.declaration = self._greet()

    def close(self) -> None:
        """Ends the conversation."""
        self._link.close()

    @abstractmethod
    def begin(self, seating: own.Seating) -> None:
        """Says that an episode begins."""

    @abstractmethod
    def ask(self, observation: Observation, row: int) -> None:
        """Sends what one episode of a batch sees."""

    def answer(self) -> np.ndarray:
        """Waits for the answer to ``ask``: (n,), or (T, n) for a chunk.

        Raises:
            LostServer: none comes.
            PolicyError: the server reports an error, or says something that is no action.
        """
        with understood(self._address):
            return _actions(self._receive_actions())

    @abstractmethod
    def _greet(self) -> Declaration:
        """Exchanges what comes first."""

    @abstractmethod
    def _receive_actions(self) -> Any:
        """Receives what should be an array."""

    @property
    def _is_own(self) -> bool:
        return self.declaration.spec is not None

    def _picture_of(self, observation: Observation, row: int) -> np.ndarray:
        if observation.rgb is None:
            raise PolicyError("needs observation.rgb, which is None: this simulator renders no pictures")
        return observation.rgb[row]

    def _state_name(self, usual: str) -> str:
        return self._settings.state or self.declaration.state or usual


class understood:  # noqa: N801 - a context manager, read as a word of the sentence it stands in
    """Says who sent what cannot be understood."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, WireError):
            raise PolicyError(f"{self._address} does not speak {self._address.protocol}: {error}") from error


def _actions(value: Any) -> np.ndarray:
    if isinstance(value, list):
        try:
            value = np.asarray(value, dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise WireError("its actions are a list that is no array of numbers") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or value.ndim not in (1, 2):
        raise WireError("its answer has no array 'actions', (n,) or (T, n)")
    if not 1 <= value.shape[0] <= _LARGEST_CHUNK or 0 in value.shape:
        raise WireError(f"its actions have shape {value.shape}; allowed: (n,), or (T, n) with T up to {_LARGEST_CHUNK}")
    return value if value.dtype.kind == "f" else value.astype(np.float64)
