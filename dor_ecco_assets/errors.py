"""Every error a caller can see, split by what the caller should do.

* `DorEccoError`
    * `ConfigurationError`: mend a setting, a YAML file or an argument.
    * `InputMissing`: an input is not there; bring it, then run again.
    * `InputUnusable`: an input is there but its bytes cannot be used; it is quarantined.
    * `GridMismatch`: arrays or stores that must share a grid do not; rebuild the named product.
    * `WorkFailed`: part of what a partition needs cannot be used; what could be made is kept.
    * `OutputCorrupt`: published bytes disagree with their record; make the partition again.
    * `PartitionBusy`: another writer holds the partition; wait for it.
    * `StorageUnavailable`: the store did not answer after every retry; try again later.
    * `StorageRefused`: the store said no (permission, credentials, full disk); mend it first.

The class says what to do, `code` says the cause in one word (`TimeIntervalMismatch`, ...), so
that a log can be counted and a test can be exact.
"""


class DorEccoError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        Names the thing, what was found, what was expected and what to do next.
    code : str, optional
        The cause as one CamelCase word; the class name if not given.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        """Keep `code` when the error crosses a process boundary."""
        return (_rebuilt, (type(self), self.message, self.code))


def _rebuilt(kind: type[DorEccoError], message: str, code: str) -> DorEccoError:
    return kind(message, code=code)


class ConfigurationError(DorEccoError, ValueError):
    """A setting, YAML key or argument is wrong; nothing was started."""


class InputMissing(DorEccoError):
    """An input is not where it should be; the caller may bring it and run again."""


class InputUnusable(DorEccoError):
    """An input's bytes cannot be used (truncated, wrong shape, wrong step, wrong checksum).

    Not raised for inputs that are absent, nor for failures of the store that holds them.
    """

    def __init__(self, message: str, *, code: str | None = None, uri: str = "") -> None:
        super().__init__(message, code=code)
        self.uri = uri

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt_input, (type(self), self.message, self.code, self.uri))


def _rebuilt_input(kind: type[InputUnusable], message: str, code: str, uri: str) -> InputUnusable:
    return kind(message, code=code, uri=uri)


class GridMismatch(DorEccoError, ValueError):
    """Arrays or stores that must share a grid do not; rebuild what the message names."""


class WorkFailed(DorEccoError):
    """Part of what a partition needs is absent or cannot be used; what could be made is kept.

    Nothing is in quarantine: mend what the message names and run again, which makes the rest.
    """


class OutputCorrupt(DorEccoError):
    """Published bytes disagree with their record; make the partition again."""


class PartitionBusy(DorEccoError):
    """Another writer holds this partition; wait for it or end it."""


class StorageUnavailable(DorEccoError):
    """The store did not answer after every retry; nothing was published, try again later."""


class StorageRefused(DorEccoError):
    """The store said no (permission, credentials, no space); waiting does not help."""
