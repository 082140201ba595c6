"""`pixassay model calibrate`: calibration, fusion and thresholds of a bundle."""

from rich.console import Console

from models.bundle import BUNDLED, load_bundle
from models.commands.options import BundlePath, Data, HeldOut


def calibrate(
    data: Data,
    bundle: BundlePath = BUNDLED,
    hold_out: HeldOut = None,
) -> None:
    """Fit the bundle's calibration, fusion and thresholds on pictures that it was not trained on."""
    from models.data import split_pictures
    from models.fit import calibrate_bundle, measure_bundle
    from models.holdout import parse_holdout
    from models.layouts import scan

    split = split_pictures(scan(data), holdout=parse_holdout(hold_out or []))
    test = set(split.test)
    reals = [p for p in (*split.validation, *split.unseen) if p.label == 0 and p not in test]
    done = calibrate_bundle(load_bundle(bundle), split.validation, reals)
    described = (
        f"{len(split.test)} test pictures whose photographs and prompts were not trained on, short side 256; "
        "their generators were trained on, so this says nothing about unseen ones"
    )
    done = measure_bundle(done, split.test, described)
    policy = done.manifest.policy
    Console(stderr=True).print(f"bundle {done.id}: synthetic from {policy.synthetic:.3f}; {policy.basis}")
