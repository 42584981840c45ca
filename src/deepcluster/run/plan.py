"""What of a run's settings and parts its costs depend on. Next: sizes.py counts, costs.py times batches."""

from deepcluster.features.bank import MemoryBank
from deepcluster.features.other_rows import UsedRows
from deepcluster.run.parts import Parts
from deepcluster.run.sizes import Plan
from deepcluster.settings.train import TrainConfig
from deepcluster.training.processes import n_processes


def plan_of(config: TrainConfig, parts: Parts, epochs_done: int = 0, learning_bytes: float = 0.0) -> Plan:
    """The plan of a run.

    Args:
        epochs_done: before a resume.
        learning_bytes: of memory to learn initial weights, if that is still to come.
    """
    feature_dim, bank_bytes = parts.backbone.feature_dim, 0
    dim = config.embedding.output_dim(feature_dim)
    if config.rows.of == "bank" and config.targets.needs_labels:
        bank_bytes = MemoryBank.n_bytes(len(parts.images), config.view.n_large, dim)
    n_other, other_learning_bytes = 0, 0.0
    if isinstance(other := config.other_rows, UsedRows) and epochs_done == 0 and config.trainer["max_epochs"] > 0:
        n_other = other.n_beside + (len(parts.clusterer.labelings) if other.serves(0) else 0)
        other_learning_bytes = other.learning_bytes(parts.images)
    return Plan(
        clusterer=parts.clusterer,
        backbone=parts.backbone,
        module=parts.module,
        train_view=parts.train_view,
        schedule=config.reassign,
        optimizer=config.optimizer,
        evaluation=config.evaluation,
        device=parts.device,
        precision=parts.precision.trainer,
        batch_size=config.reading.batch_size,
        max_epochs=config.trainer["max_epochs"],
        epochs_done=epochs_done,
        n_test=0 if parts.test_images is None else len(parts.test_images),
        n_sharing=n_processes(config.trainer) if parts.device.type == "cuda" else 1,
        reassigns=config.targets.needs_labels,
        bank_bytes=bank_bytes,
        head_dim=dim,
        n_embedding=config.embedding.n_weights(feature_dim),
        n_file_passes=config.files.n_passes(config.data.source),
        compares_pictures=config.files.are_compared(config.data.source),
        n_networks=parts.n_networks,
        n_other=n_other,
        other_learning_bytes=other_learning_bytes,
        scans_k=config.clustering.chooses_k,
        learning_bytes=learning_bytes,
        n_soft=parts.clusterer.n_soft if parts.clusterer.softness > 0 else 0,
    )
