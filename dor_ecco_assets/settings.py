"""Where things lie and how runs behave: configuration files, profiles and the few variables.

`load_config` is the one loader of ``configs/``. The environment is read by the functions of this
module when they are called, never when it is imported.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from dor_ecco_assets.errors import ConfigurationError

PACKAGE = Path(__file__).parent


class Strict(BaseModel):
    """Base of every configuration model: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(Strict):
    """Where bytes lie: a local directory or an S3 URL, and how to reach it."""

    root: str | None = Field(None, description="local directory or s3://bucket/prefix")
    endpoint: str | None = Field(
        None, pattern="^https?://[^/]+", description="URL of an S3 service that is not AWS"
    )
    region: str | None = None
    path_style: bool = Field(True, description="bucket in the path, not in the host name")
    anonymous: bool = Field(False, description="send unsigned requests")


class Compute(Strict):
    """Where the partitions of a batch are made."""

    mode: Literal["none", "local"] = Field("none", description="in process, or worker processes")
    workers: int = Field(2, ge=1, description="worker processes of mode local")


class Profile(Strict):
    """One kind of deployment."""

    storage: Place = Place.model_validate({})
    inputs: Place = Place.model_validate({})
    compute: Compute = Compute.model_validate({})
    backfill: Literal["single"] | int = Field(
        "single", description="partitions per run of a backfill: all in one, or this many"
    )


def config_folders(overlay: str | os.PathLike[str] | None = None) -> list[Path]:
    """Folders that hold configuration, the user's overlay first, then what ships.

    Parameters
    ----------
    overlay : path, optional
        The user's own folder (``--configs`` or ``DOR_ECCO_CONFIGS``).

    Raises
    ------
    ConfigurationError
        If `overlay` is not a folder.
    """
    folders = [PACKAGE / "_configs", PACKAGE.parent / "configs"]
    if overlay is not None:
        if not Path(overlay).is_dir():
            raise ConfigurationError(
                f"--configs {overlay}: there is no such folder; name one that mirrors configs/",
                code="NoConfigs",
            )
        folders.insert(0, Path(overlay))
    return [folder for folder in folders if folder.is_dir()]


def config_path(name: str, overlay: str | os.PathLike[str] | None = None) -> Path:
    """The file that ``configs/{name}`` means, the overlay's before the shipped one.

    Raises
    ------
    ConfigurationError
        If no folder has it; names the files beside it.
    """
    folders = config_folders(overlay)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    beside = sorted({path.name for folder in folders for path in (folder / name).parent.glob("*")})
    near = difflib.get_close_matches(Path(name).name, beside, n=1, cutoff=0.4)
    raise ConfigurationError(
        f"there is no configuration {name} in {', '.join(map(str, folders))}"
        + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(beside)}"),
        code="NoConfig",
    )


def is_shipped(name: str, overlay: str | os.PathLike[str] | None = None) -> bool:
    """Whether ``configs/{name}`` is the file that ships: no overlay has one of its own."""
    return overlay is None or not (Path(overlay) / name).is_file()


def config_names(pattern: str, overlay: str | os.PathLike[str] | None = None) -> list[str]:
    """Names, without folder and ending, of the YAML files below ``configs/`` that fit a pattern.

    Parameters
    ----------
    pattern : str
        Such as ``grids/latlon_*``.
    overlay : path, optional
        The user's own folder; its files add to those that ship.
    """
    folders = config_folders(overlay)
    return sorted({path.stem for folder in folders for path in folder.glob(f"{pattern}.yaml")})


#: libyaml's is faster by far where PyYAML was built with it.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_config[M: BaseModel](
    model: type[M], name: str, overlay: str | os.PathLike[str] | None = None
) -> M:
    """Read ``configs/{name}`` into its model.

    Parameters
    ----------
    model : type
        A pydantic model that rejects unknown keys.
    name : str
        Path of the YAML file below ``configs/``.
    overlay : path, optional
        The user's own folder, looked into first.

    Raises
    ------
    ConfigurationError
        If the file is absent, is not YAML, or does not fit the model; an unknown key is named
        with the nearest known one.
    """
    path = config_path(name, overlay)
    try:
        found = yaml.load(path.read_text(), _YAML_LOADER) or {}  # noqa: S506 - both are safe
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}", code="NotYaml") from error
    return parse_config(model, found, str(path))


def parse_config[M: BaseModel](model: type[M], found: Any, name: str) -> M:
    """Check plain values against a model; `name` says whose they are in the message."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise ConfigurationError(f"{name}: {'; '.join(lines)}", code="BadConfig") from error


def _explain(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{place}: {problem['msg']}, found {problem['input']!r}"
    known = _known_keys(model, problem["loc"][:-1])
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
    return f"unknown key {place!r}; {hint}"


def _known_keys(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Keys that a model allows at a place inside it."""
    for step in place:
        kind = _unwrapped(kind)
        if _is_model(kind):
            kind = kind.model_fields[str(step)].annotation if step in kind.model_fields else None
        else:  # dict[str, X], list[X] or tuple[X, ...]: what lies there is the last type
            inner = [a for a in getattr(kind, "__args__", ()) if a is not Ellipsis]
            kind = (inner or [None])[-1]
    kind = _unwrapped(kind)
    return sorted(kind.model_fields) if _is_model(kind) else []


def _unwrapped(kind: Any) -> Any:
    """What an optional type or a root model holds."""
    while True:
        if _is_model(kind) and issubclass(kind, RootModel):
            kind = kind.model_fields["root"].annotation
        elif getattr(kind, "__origin__", None) is Union or isinstance(kind, UnionType):
            kind = next(inner for inner in kind.__args__ if inner is not type(None))
        else:
            return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@dataclass(frozen=True)
class Places:
    """Absolute places of one production.

    Parameters
    ----------
    root, inputs : Place
        With `Place.root` absolute: a path or an ``s3://`` URL.
    dagster_home : Path
    configs : str or None
        The user's overlay of ``configs/``.
    profile : str
    """

    root: Place
    inputs: Place
    dagster_home: Path
    configs: str | None
    profile: str

    def environment(self) -> dict[str, str]:
        """Variables that make any other program, plain ``dagster`` too, share these places."""
        found = {
            "DAGSTER_HOME": str(self.dagster_home),
            "DOR_ECCO_ROOT": str(self.root.root),
            "DOR_ECCO_INPUTS": str(self.inputs.root),
            "DOR_ECCO_PROFILE": self.profile,
        }
        return found if self.configs is None else {**found, "DOR_ECCO_CONFIGS": self.configs}


def find_places(
    *,
    root: str | None = None,
    inputs: str | None = None,
    profile: str | None = None,
    configs: str | None = None,
    project: Path | None = None,
) -> Places:
    """Where this production's data, inputs and Dagster instance lie.

    An argument wins over its variable (``DOR_ECCO_ROOT``, ``DOR_ECCO_INPUTS``,
    ``DOR_ECCO_PROFILE``, ``DOR_ECCO_CONFIGS``, ``DAGSTER_HOME``), that over the profile, that
    over the defaults ``./data``, ``<root>/inputs`` and ``./.dagster``. Relative defaults resolve
    against `project`, the folder that holds ``workspace.yaml``, else the working directory; a
    given `project` also sets the variables of root, inputs and instance aside, and its ``configs``
    are the overlay where no other is named.
    """
    environ = {} if project is not None else os.environ
    configs = configs or os.environ.get("DOR_ECCO_CONFIGS")
    if configs is None and project is not None and (project / "configs").is_dir():
        configs = str(project / "configs")
    profile = profile or os.environ.get("DOR_ECCO_PROFILE") or "laptop"
    chosen = load_profile(profile, configs)
    base = project.absolute() if project is not None else project_folder()
    given_root = root or environ.get("DOR_ECCO_ROOT")
    data = _absolute(
        given_root or chosen.storage.root or "data", Path.cwd() if given_root else base
    )
    given_inputs = inputs or environ.get("DOR_ECCO_INPUTS")
    raw = given_inputs or chosen.inputs.root
    home = environ.get("DAGSTER_HOME")
    return Places(
        root=chosen.storage.model_copy(update={"root": data}),
        inputs=_inputs_place(chosen, data, raw, Path.cwd() if given_inputs else base),
        dagster_home=Path(home).absolute() if home else base / ".dagster",
        configs=None if configs is None else str(Path(configs).absolute()),
        profile=profile,
    )


def _inputs_place(chosen: Profile, data: str, raw: str | None, base: Path) -> Place:
    beside = f"{data.rstrip('/')}/inputs"
    if raw is None or (chosen.inputs.root is None and _absolute(raw, base) == beside):
        # Beside the data, reached as the data are; a child process is given it as a variable.
        return chosen.storage.model_copy(update={"root": beside})
    return chosen.inputs.model_copy(update={"root": _absolute(raw, base)})


def _absolute(place: str, base: Path) -> str:
    return place if "://" in place else str((base / Path(place).expanduser()).resolve())


def load_profile(name: str, configs: str | None = None) -> Profile:
    """The profile ``configs/profiles/{name}.yaml``."""
    return load_config(Profile, f"profiles/{name}.yaml", configs)


def project_folder() -> Path:
    """The nearest folder from the working directory up with ``workspace.yaml``, else the former."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "workspace.yaml").is_file():
            return folder
    return here


def source_date() -> str | None:
    """``SOURCE_DATE_EPOCH`` as ``YYYY-MM-DDThh:mm:ss``, UTC; None where it is not set.

    Raises
    ------
    ConfigurationError
        If it is not a whole number of seconds.
    """
    import datetime

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        when = datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH is {epoch!r}; expected whole seconds since 1970", code="BadDate"
        ) from error
    return when.strftime("%Y-%m-%dT%H:%M:%S")


#: Environment variable of ``--strict-cf``.
STRICT_CF = "DOR_ECCO_STRICT_CF"


def strict_cf() -> bool:
    """Whether ``DOR_ECCO_STRICT_CF`` asks for granules without what CF checkers refuse.

    Raises
    ------
    ConfigurationError
        If it is something else than 1, 0 or empty.
    """
    return _switched_on(STRICT_CF)


def _switched_on(variable: str) -> bool:
    found = os.environ.get(variable, "")
    if found not in ("", "0", "1"):
        raise ConfigurationError(f"{variable} is {found!r}; expected 1 or 0", code="BadSetting")
    return found == "1"


Compat = Literal["none", "reference"]

#: Environment variables of ``--compat`` and ``--allow-gaps``.
COMPAT, ALLOW_GAPS = "DOR_ECCO_COMPAT", "DOR_ECCO_ALLOW_GAPS"


def compat() -> Compat:
    """Whether ``DOR_ECCO_COMPAT`` asks for the numerical defects of Ocean-CDR-Atlas v0.

    Raises
    ------
    ConfigurationError
        If it is something else than ``none`` or ``reference``.
    """
    found = os.environ.get(COMPAT) or "none"
    if found == "none" or found == "reference":
        return found
    raise ConfigurationError(
        f"{COMPAT} is {found!r}; expected none or reference", code="BadSetting"
    )


#: Environment variable of ``ecco deliver --allow-partial``.
DELIVER_PARTIAL = "DOR_ECCO_DELIVER_PARTIAL"


def deliver_partial() -> bool:
    """Whether ``DOR_ECCO_DELIVER_PARTIAL`` asks for deliveries with incomplete granules."""
    return _switched_on(DELIVER_PARTIAL)


def allow_gaps() -> bool:
    """Whether ``DOR_ECCO_ALLOW_GAPS`` takes cases whose wet cells lack numbers."""
    return _switched_on(ALLOW_GAPS)
