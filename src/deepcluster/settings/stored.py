"""A run's config.yaml: written when the run begins, read to resume it, to evaluate it and to find it in a sweep."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deepcluster.settings.absolute import with_absolute_paths
from deepcluster.settings.moved_keys import move_old_keys
from deepcluster.settings.options import OPTIONS, kind_key
from deepcluster.settings.train import TrainConfig
from deepcluster.system.atomic import write_atomically


def read_stored_config(file: Path) -> DictConfig:
    """A run's stored config with the types of this version; old keys are renamed.

    Raises:
        ValueError: if this version cannot read the file.
    """
    try:
        plain = OmegaConf.load(file)
        move_old_keys(plain)
        schema = OmegaConf.structured(TrainConfig)
        for group, kinds in OPTIONS.items():
            key = f"{group}.{kind_key(group)}"
            kind = OmegaConf.select(plain, key) or next(iter(kinds))
            if kind not in kinds:
                raise ValueError(f"{file}: {key}={kind} is none of {', '.join(kinds)}")
            schema[group] = OmegaConf.structured(kinds[kind])
        merged = OmegaConf.merge(schema, plain)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} is not the config of a run of this version: {str(error).splitlines()[0]}") from error
    assert isinstance(merged, DictConfig)
    return merged


def write_config(config: TrainConfig, folder: Path, *, store_dtype: str | None = None) -> None:
    """Write the resolved config, its paths absolute, into the run's folder; its presence marks the folder as a run's.

    Args:
        store_dtype: the type that extraction.store_dtype=auto has chosen, which a resumed run keeps; None: as set.
    """
    plain = with_absolute_paths(OmegaConf.structured(config))
    plain.resume, plain.estimate = None, False
    plain.extraction.store_dtype = store_dtype or plain.extraction.store_dtype
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(plain).encode())
