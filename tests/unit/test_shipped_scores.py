"""The shipped bundle on real photographs: the same score alone, in company, in another order and again."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.bundle import BUNDLED, Bundle, load_bundle
from models.errors import ModelError
from models.scoring import Run, Views, computes_bf16, open_engine
from models.views import render_all
from stream.demo_pictures import packaged_pictures

Photographs = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(BUNDLED)


@pytest.fixture(scope="module")
def run(bundle: Bundle) -> Run:
    return open_engine(bundle, "openvino")


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    """The real photographs of the demo, as pixels."""
    reals = [picture for picture in packaged_pictures() if picture.label == "real"]
    return [np.asarray(Image.open(io.BytesIO(one.data)).convert("RGB")) for one in reals]


def views_of(bundle: Bundle, pictures: Photographs) -> Views:
    rendered = [render_all(picture, bundle.manifest.views) for picture in pictures]
    return {spec.name: np.stack([one[spec.name] for one in rendered]) for spec in bundle.manifest.views}


def test_a_score_depends_on_no_other_picture_of_the_batch(
    bundle: Bundle, run: Run, photographs: Photographs
) -> None:
    views = views_of(bundle, photographs[:8])
    together = run(views)
    turned = run({name: array[::-1] for name, array in views.items()})[::-1]
    alone = np.concatenate([run({name: array[[i]] for name, array in views.items()}) for i in range(8)])
    assert np.array_equal(run(views), together)
    for other in (turned, alone):
        assert np.abs(other - together).max() <= 1e-5


def test_openvino_gives_the_references_logits_on_photographs(
    bundle: Bundle, run: Run, photographs: Photographs
) -> None:
    """The golden pictures are made up, and lie beyond what bounded features tell apart."""
    views = views_of(bundle, photographs)
    expected = open_engine(bundle, "onnxruntime")(views)
    assert np.abs(run(views) - expected).max() <= 1e-3
    assert np.ptp(expected, axis=0).min() > 1  # no detector says the same of all


def test_in_bfloat16_logits_stay_close_and_other_cpus_are_told_so(
    bundle: Bundle, run: Run, photographs: Photographs
) -> None:
    if not computes_bf16():
        with pytest.raises(ModelError, match="does not compute in bfloat16"):
            open_engine(bundle, "openvino-bf16")
        return
    views = views_of(bundle, photographs)
    apart = np.abs(open_engine(bundle, "openvino-bf16")(views) - run(views))
    # 0.84 and 0.086 where the mean of a residual is rounded by itself.
    assert 1e-4 < apart.max() < 0.6
    assert apart.mean() < 0.075
