"""`deepcluster DIR`: a whole run on a folder of images, with settings that fit the folder and the minutes given.

It chooses settings (run/dial.py), tells each with its reason and the key that overrules it, and starts `deepcluster
train` with them. Next: program.py runs it.
"""

import difflib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from hydra import compose, initialize_config_dir

from deepcluster.app.config_folder import configs
from deepcluster.app.mistyped import keys_of
from deepcluster.app.start_word import OF_OUTPUT, choose_start, start_of, start_told
from deepcluster.app.typed_paths import with_quoted_paths
from deepcluster.clustering.k_by_number import PER_ROOT, k_by_number
from deepcluster.run.costs import Costs, measure
from deepcluster.run.dial import (
    ENLARGED,
    FEWEST_EPOCHS,
    MINUTES,
    MOST_EPOCHS,
    N_SAMPLE,
    SHARE,
    Budget,
    Look,
    Network,
    fits,
    for_epochs,
    for_few,
    look,
    most_epochs,
    networks,
    seconds,
    sizes_of_typed,
    stays_in_memory,
    stored_side,
    with_numbers,
)
from deepcluster.run.parts import build_parts, choose_device, crops_of_settings, takes_images_of
from deepcluster.run.plan import plan_of
from deepcluster.run.sizes import Plan
from deepcluster.run.starts import ADAPTING, FROZEN
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.run_folder import run_folder
from deepcluster.settings.train import TrainConfig
from deepcluster.system.machine import free_memory
from deepcluster.system.progress import Progress, clock
from deepcluster.system.quoting import override, with_home
from deepcluster.weights.onnx_start import TARGET

RECIPE = "photographs"  # of configs/experiment
LEAST_MINUTES, MOST_MINUTES = 0.5, 100_000
OWN_KEYS = ("minutes", "effort", "start")  # that no run has
OF_SIZE = {"view", "view.size", "experiment"}  # where one is typed, it says what size a network that is typed sees
TIMED_BATCH = 64  # images, on a CPU: larger batches of features are not faster there, and take longer to time


@dataclass(kw_only=True)
class Candidate:
    """A network that was timed on a sample of the folder's images.

    Args:
        words: the settings that make its run, without the number of epochs.
        epochs: as many as fit into the minutes, or as typed.
        is_enough: whether as many fit as there should be.
    """

    words: list[str]
    config: TrainConfig
    plan: Plan
    costs: Costs
    epochs: int
    is_enough: bool


def settings_for(
    folder: str, typed: list[str], say: Callable[[str], None] = print, *, started: float | None = None
) -> list[str]:
    """The settings of `deepcluster train` for a folder of images.

    Args:
        folder: of images.
        typed: what was typed after it: minutes=N or effort=NAME, start=auto, none, a name or a file of weights, and
            settings, which overrule those chosen here.
        say: prints a line.
        started: time.perf_counter() when the command began, from which the minutes count; None: now.

    Raises:
        ValueError, FileNotFoundError: if a setting is not possible, or there are no images.
    """
    started = time.perf_counter() if started is None else started
    if flags := [word for word in typed if word.startswith("-")]:
        raise ValueError(f"{flags[0]}: only settings follow a folder; deepcluster train takes flags, and all settings")
    check_own_keys(typed)
    minutes, typed = minutes_of(typed)
    budget = Budget(minutes=minutes, started=started)
    wanted, typed = start_of(typed)
    typed = with_quoted_paths([with_home(word) for word in typed], is_sweep=False)
    keys = keys_of(typed)
    base = without([f"experiment={RECIPE}", override("data.root", folder)], keys)
    config = composed(without([*base, *typed], {*OF_OUTPUT}))  # its network has none of these keys
    run_folder(config.resume, config.output_dir, "")  # refuses one in use before anything is timed
    on_gpu = choose_device(config.trainer).type != "cpu"
    start, feature_dim = choose_start(wanted, keys, on_gpu=on_gpu), None
    if start is not None:
        base += without([*start.words, *(FROZEN if start.is_frozen else ADAPTING)], keys)
        config = composed([*base, f"arch={start.arch}", f"view.size={start.card['image_size']}", *typed])
        arch = start.card["arch"]
        if keys & {*OF_OUTPUT, "view.size"}:  # refuses what an ONNX file does not have
            arch, *_ = config.init.network(config.arch, config.view)
        feature_dim = arch.get("feature_dim")
    seen = look(config.data, config.reading)
    if seen.n < 2:
        raise ValueError(f"{config.data.place} holds one image to learn from; clusters are made of at least two")
    if keys & {"clustering", "clustering.k"}:
        config.clustering.at_most(seen.n).check(seen.n)
    if start is not None:
        sizes = [config.view.size] if "view.size" in keys else start.sizes(seen.side)
        sized = [Network(arch=start.arch, size=size, feature_dim=feature_dim) for size in sizes]
    elif keys & {"arch", "view.size"}:
        sized = sized_as_typed(config, typed, keys, seen)
    else:
        sized = networks(seen.side, on_gpu=on_gpu)
    say(
        f"images     {seen.n:,} to learn from, {seen.n_test or 'no'} to test, {seen.width}x{seen.height} px (the "
        f"median), {1000 * seen.read_s:.0f} ms to decode one"
    )
    chosen = choose(base, typed, sized, config, seen, budget, FEWEST_EPOCHS if start is None else 0)
    if (line := start_told(start, wanted, keys)) is not None:
        say(line)
    for line in told(chosen, seen, budget, keys, n_tried=len(sized)):
        say(line)
    of_epochs = [f"trainer.max_epochs={chosen.epochs}", *for_epochs(config, chosen.epochs)]
    return [*chosen.words, *without(of_epochs, keys.union(word.partition("=")[0] for word in chosen.words))]


def sized_as_typed(config: TrainConfig, typed: list[str], keys: set[str], seen: Look) -> list[Network]:
    """The network that was typed, at a size that enlarges the images little; empty: as the settings have it."""
    if "arch" not in keys or keys & OF_SIZE or config.init.names_weights:
        return []
    arch = next(word.partition("=")[2] for word in typed if word.startswith("arch="))
    sizes = (size for size in sizes_of_typed(seen.side, config.view.size) if takes_images_of(config, size))
    return [Network(arch=arch, size=size) for size in sizes][:1]


def check_own_keys(typed: list[str]) -> None:
    """Refuse what is no key of a run, but like one that `deepcluster DIR` has besides: minute=10.

    Raises:
        ValueError: with the word that was meant.
    """
    of_runs = {field.name for field in fields(TrainConfig)}
    for word in typed:
        key, _, value = word.partition("=")
        close = (
            [] if key in (*OWN_KEYS, *of_runs) else difflib.get_close_matches(key.lower(), OWN_KEYS, n=1, cutoff=0.75)
        )
        if close:
            raise ValueError(f"{word}: there is no key {key}; did you mean {close[0]}={value}?")


def minutes_of(typed: list[str]) -> tuple[float, list[str]]:
    """The minutes that the words give, by minutes=N or effort=NAME, and the other words.

    Raises:
        ValueError: if both are given, or a value is not possible.
    """
    dial = [word for word in typed if word.partition("=")[0] in ("minutes", "effort")]
    others = [word for word in typed if word not in dial]
    if len(dial) > 1:
        raise ValueError(f"{' '.join(dial)}: give one of them")
    key, _, value = dial[0].partition("=") if dial else ("effort", "", "normal")
    if key == "effort":
        if value not in MINUTES:
            names = ", ".join(f"{name} ({minutes:g} min)" for name, minutes in MINUTES.items())
            raise ValueError(f"effort={value} is none of {names}")
        return MINUTES[value], others
    try:
        minutes = float(value)
    except ValueError:
        raise ValueError(f"minutes={value} is no number") from None
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise ValueError(f"minutes={value} must be in [{LEAST_MINUTES:g}, {MOST_MINUTES:,}]")
    return minutes, others


def choose(
    base: list[str],
    typed: list[str],
    sized: list[Network],
    config: TrainConfig,
    seen: Look,
    budget: Budget,
    fewest: int = FEWEST_EPOCHS,
) -> Candidate:
    """The first network that can see each image often enough in the minutes; else that which can most often.

    Args:
        base: settings before those that are chosen here.
        typed: settings that overrule them.
        sized: the networks to try; none: that of the settings.
        config: of `base` and `typed`.
        seen: the look at the images.
        budget: of all of the command.
        fewest: epochs that must fit; 0: the network is not trained.
    """
    keys = keys_of(typed)
    typed_epochs = int(config.trainer["max_epochs"]) if "trainer.max_epochs" in keys else None
    wanted = fewest if typed_epochs is None else typed_epochs
    known: Costs | None = None
    best: Candidate | None = None
    for network in sized or (None,):
        words = [] if network is None else without([f"arch={network.arch}", f"view.size={network.size}"], keys)
        config = composed([*base, *words, *typed]) if words else config
        numbers = for_few(config, seen.n, None if network is None else network.feature_dim)
        if "clustering" not in keys and hasattr(config.clustering, "k"):
            numbers.append(f"clustering.k={k_by_number(seen.n)}")
        room = min(config.reading.memory_gb * 1e9, free_memory() / 2)
        if (side := stored_side(seen, config.view.size, crops_of_settings(config).crop_size, room)) is not None:
            numbers.append(f"reading.stored_size={side}")
        numbers = without(numbers, keys)
        words = [*base, *words, *numbers, *typed]
        candidate = timed(words, with_numbers(config, numbers), seen, budget, wanted, known)
        if best is None or candidate.is_enough or candidate.epochs >= best.epochs:  # the smallest may be slower
            best = candidate
        if candidate.is_enough:
            break
        known = candidate.costs
    assert best is not None
    epochs = max(1, best.epochs) if fewest else 0
    return replace(best, epochs=epochs if typed_epochs is None else typed_epochs)


def timed(
    words: list[str], config: TrainConfig, seen: Look, budget: Budget, wanted: int, known: Costs | None = None
) -> Candidate:
    """Measure what a run costs, on a sample of the images.

    Args:
        config: of the words.
        wanted: epochs that should fit into the minutes that are left after this measurement.
        known: of another network.
    """
    n = min(seen.n, max(N_SAMPLE, config.reading.batch_size))  # whole steps
    few = [f"data.limit={n}"]
    if choose_device(config.trainer).type == "cpu":
        few.append(f"extraction.batch_size={min(config.extraction.batch_size, TIMED_BATCH)}")
    if isinstance(k := getattr(config.clustering, "k", None), int):
        few.append(f"clustering.k={max(2, min(k, n // 4))}")
    few += for_few(config, n)
    sample = with_numbers(config, few)
    is_kept = config.reading.stored_size is not None or stays_in_memory(seen, config.reading)
    if config.reading.in_memory == "auto" and not is_kept:
        # A few images may fit into memory, or have one size, where all do not and are decoded at each access.
        sample = replace(sample, reading=replace(sample.reading, in_memory="never"))
    silent = Progress(bars=False, lines=False)  # the run says it once more, of all images
    logging.disable(logging.WARNING)  # so do its warnings of images
    try:
        plan = plan_of(sample, build_parts(sample, initialise=False, progress=silent))
    finally:
        logging.disable(logging.NOTSET)
    costs = measure(plan, limit_s=budget.limit_s, known=known)
    plan = replace(plan, clusterer=replace(plan.clusterer, clustering=config.clustering.at_most(seen.n)))
    n_fit = most_epochs(plan, costs, seen, budget.left)
    is_enough = n_fit >= max(1, wanted) or (wanted == 0 and fits(plan, costs, seen, 0, budget.left))
    return Candidate(words=words, config=config, plan=plan, costs=costs, epochs=n_fit, is_enough=is_enough)


def told(chosen: Candidate, seen: Look, budget: Budget, keys: set[str], *, n_tried: int) -> list[str]:
    """The choices, each with its reason and the key that overrules it; and the time that the run will take."""
    config, minutes = chosen.config, budget.minutes
    arch = config.arch.get("name") or str(config.arch["_target_"]).rpartition(".")[2]
    network = clusters = epochs = "as typed"
    if n_tried and not {"arch", "view.size"} & keys:
        which = "the largest that can" if chosen.is_enough else "the fastest here, though it cannot"
        n_times = chosen.epochs if "trainer.max_epochs" in keys or not chosen.epochs else FEWEST_EPOCHS
        often = "once" if n_times == 1 else f"{n_times or 'a few'} times"
        network = f"{which} see each image {often} in {minutes:g} min; arch=, view.size="
    elif n_tried and "view.size" not in keys:
        is_near = config.view.size <= ENLARGED * seen.side
        why = f"of images enlarged at most {ENLARGED:g} times" if is_near else "at the smallest size here that it takes"
        network = f"as typed, {why}; view.size="
    if not keys & {"clustering", "clustering.k"}:
        clusters = f"about {PER_ROOT:g} times the root of the number of images; clustering.k="
    elif config.clustering.chooses_k:
        clusters = "a scan of the images at the run's start chooses their number; clustering.k="
    if "trainer.max_epochs" not in keys:
        step_ms = 1000 * chosen.costs.step_s / min(config.reading.batch_size, seen.n)
        fit = f"what {minutes:g} min hold at {step_ms:.1f} ms an image on this machine"
        why = "more gain little" if chosen.epochs == MOST_EPOCHS else fit
        epochs = f"{why}; trainer.max_epochs=, minutes="
        if chosen.epochs == 0:
            is_frozen = config.arch["_target_"] == TARGET
            adapts = "an ONNX file cannot be trained" if is_frozen else "trainer.max_epochs=5 adapts it to these images"
            epochs = f"the trained network stays as it is; {adapts}"
    k = getattr(config.clustering, "k", config.clustering.kind)
    total_s = budget.spent_s + seconds(chosen.plan, chosen.costs, seen, chosen.epochs) / SHARE
    return [
        f"network    {arch} at {config.view.size} px: {network}",
        f"clusters   {k}: {clusters}",
        f"epochs     {chosen.epochs}: {epochs}",
        f"time       about {clock(total_s)} in all",
    ]


def composed(words: list[str]) -> TrainConfig:
    """The settings of a run, all checked."""
    with initialize_config_dir(str(configs()), version_base="1.3"):
        return new_or_resumed_config(compose("train", words), words)


def without(words: list[str], keys: set[str]) -> list[str]:
    """The settings whose keys were not typed."""
    return [word for word in words if word.partition("=")[0] not in keys]
