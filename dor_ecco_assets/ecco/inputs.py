"""Which records of model output a granule needs, where they may lie, and which have arrived.

A record is looked for in the usual folder of its field, then flat below the version and flat at
the top; a snapshot under any of the period tokens that stand for one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset
from dor_ecco_assets.ecco.model_output import missing_input, record_key
from dor_ecco_assets.ecco.times import Frequency, ModelClock, PeriodToken
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.storage.base import Readable

__all__ = ["ModelInputs", "source_fields"]


def source_fields(
    catalogue: Catalogue, dataset: Dataset, there: Callable[[str], bool] = lambda _field: False
) -> list[str]:
    """Model fields that a dataset is made from, each once, in the order they are needed.

    Parameters
    ----------
    catalogue : Catalogue
    dataset : Dataset
    there : callable, optional
        Whether the model wrote a field. Where ``vector_source`` leaves the choice, a vector is
        taken as it is if all its published components are there, else from its two components.
    """
    names: list[str] = []
    for name in dataset.variables:
        ready = catalogue.precomputed(name)
        pair = [n for n in dataset.variables if catalogue.sources(n) == catalogue.sources(name)]
        if ready is not None and all(there(catalogue.precomputed(n) or n) for n in pair):
            names.append(ready)
        else:
            names += catalogue.sources(name)
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class ModelInputs:
    """The records of one dataset.

    Parameters
    ----------
    catalogue : Catalogue
    dataset : Dataset
    """

    catalogue: Catalogue
    dataset: Dataset

    def find(self, inputs: Readable, partition: str) -> Mapping[str, str | None]:
        """The ``.data`` and ``.meta`` of every model field, by file name; None where absent."""
        step = self._step(partition)
        found: dict[str, dict[str, str | None]] = {}

        def there(field: str) -> bool:
            if field not in found:
                found[field] = self._pair(inputs, field, step)
            return next(iter(found[field].values())) is not None

        needed = source_fields(self.catalogue, self.dataset, there)
        return {
            file: key
            for field in needed
            for file, key in (found.get(field) or self._pair(inputs, field, step)).items()
        }

    def arrived(self, inputs: Readable) -> set[str]:
        """Partitions of which at least one file may have arrived."""
        known = _partitions(self.catalogue.clock, self.dataset.frequency)
        return {known[step] for step in self._steps_there(inputs) if step in known}

    def unplaced(self, inputs: Readable) -> list[InputUnusable]:
        """Why steps that are there belong to no partition, one error a step, in order.

        Code ``TimeAlignment``; `uri` is one file of the step.
        """
        clock, frequency = self.catalogue.clock, self.dataset.frequency
        known = _partitions(clock, frequency)
        found: list[InputUnusable] = []
        for step, key in sorted(self._steps_there(inputs).items()):
            if step not in known:
                try:
                    clock.partition_key(step, frequency, name=inputs.locate(key))
                except InputUnusable as error:
                    found.append(error)
        return found

    def _steps_there(self, inputs: Readable) -> dict[int, str]:
        """Every step of which a file is there, and one such file."""
        steps: dict[int, str] = {}
        folders: dict[str, list[str]] = {}
        for field in self._possible:
            for period, folder in self._places[field]:
                folders.setdefault(folder, []).append(f"{field}_{period}.")
        for folder, starts in folders.items():
            wanted = {folder + start for start in starts}
            for key, _ in inputs.list_folder(folder.rstrip("/")):
                # ``<field>_<period>.`` before ten digits and ``.data`` or ``.meta``
                if key[:-15] in wanted and key[-15:-5].isdecimal():
                    steps.setdefault(int(key[-15:-5]), key)
        return steps

    def require(
        self,
        inputs: Readable,
        partition: str,
        keys: Mapping[str, str | None],
        allow_partial: bool,
    ) -> None:
        """Raise `InputMissing` where a model field is absent and the policy does not allow it."""
        absent = [name for name, key in keys.items() if key is None and name.endswith(".data")]
        if not absent:
            return
        catalogue, dataset = self.catalogue, self.dataset
        present = [name for name in dataset.variables if dataset.has_sources(catalogue, name, keys)]
        if allow_partial and present:
            return
        period = dataset.periods[0]
        field = absent[0].partition(f"_{period}.")[0]
        version = catalogue.release.version
        key = record_key(field, period, self._step(partition), version=version)
        first = missing_input(inputs, key, catalogue.clock)
        more = len(absent) - 1
        others = f"; {more} more field{' is' if more == 1 else 's are'} missing too" if more else ""
        partly = "; --allow-partial makes the granule of those that are there" if present else ""
        raise InputMissing(f"{first.message}{others}{partly}", code=first.code)

    def _step(self, partition: str) -> int:
        clock, frequency = self.catalogue.clock, self.dataset.frequency
        known = _steps(clock, frequency).get(partition)
        return clock.step_of(partition, frequency) if known is None else known

    def _pair(self, inputs: Readable, field: str, step: int) -> dict[str, str | None]:
        """Data file and description of one record, of the first place that has either."""
        first: dict[str, str | None] = {}
        for period, folder in self._places[field]:
            name = f"{field}_{period}.{step:010d}"
            here = {
                file: folder + file if inputs.stat(folder + file) is not None else None
                for file in (f"{name}.data", f"{name}.meta")
            }
            if any(here.values()):
                return here
            first = first or here
        return first

    @cached_property
    def _possible(self) -> list[str]:
        """Model fields that a granule may be made from, whatever has arrived."""
        fields = [
            field
            for name in self.dataset.variables
            for field in (*self.catalogue.sources(name), self.catalogue.precomputed(name))
            if field is not None
        ]
        return list(dict.fromkeys(fields))

    @cached_property
    def _places(self) -> dict[str, tuple[tuple[PeriodToken, str], ...]]:
        """Period token and folder, ``/`` at its end, where records of a field may lie, in order."""
        version, periods = self.catalogue.release.version, self.dataset.periods

        def usual(field: str, period: PeriodToken) -> str:
            return record_key(field, period, 0, version=version).rpartition("/")[0] + "/"

        return {
            field: tuple(
                (period, folder)
                for period in periods
                for folder in (usual(field, period), f"{version}/", "")
            )
            for field in self._possible
        }


@lru_cache(maxsize=8)
def _steps(clock: ModelClock, frequency: Frequency) -> dict[str, int]:
    """Step of every partition, worked out once: a walk of all of them asks for each."""
    return {key: clock.step_of(key, frequency) for key in clock.partition_keys(frequency)}


@lru_cache(maxsize=8)
def _partitions(clock: ModelClock, frequency: Frequency) -> dict[int, str]:
    return {step: key for key, step in _steps(clock, frequency).items()}
