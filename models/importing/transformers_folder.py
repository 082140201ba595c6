"""An image classifier as transformers saves it: a folder with config.json, weights and preprocessor."""

from pathlib import Path

from torch import Tensor, nn

from models.importing.classifier import Classifier, synthetic_class
from models.importing.imported import Imported, read_json, weights_in
from models.importing.preprocessing import Given, of_transformers
from models.towers.weights import WeightsError, mismatch, read_weights

PREPARED = "preprocessor_config.json"


class _Logits(nn.Module):
    """The logits alone, of a model that returns more."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, S, S] normalised -> [N, classes]."""
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


def import_transformers(folder: Path, given: Given, synthetic: int | None) -> Imported:
    """Raises WeightsError."""
    from transformers import AutoModelForImageClassification  # seconds to import

    if not folder.is_dir():
        raise WeightsError(f"{folder}: the folder with config.json and the weights was expected")
    read_weights(weights_in(folder))  # refuses a pickle that needs code, before transformers sees it
    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder}: {str(error).splitlines()[0]}") from error
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise WeightsError(mismatch(f"{type(model).__name__} ({folder})", missing, unexpected))
    prepared_file = folder / PREPARED
    where = str(prepared_file)
    if prepared_file.exists():
        prepared = given.over(of_transformers(where, read_json(prepared_file)))
    else:
        prepared = given.whole(str(folder))
    labels = model.config.id2label
    names = [labels[index] for index in sorted(labels)]
    index = synthetic_class(str(folder), len(names), names, synthetic)
    view = prepared.view()
    net = Classifier(_Logits(model), view, prepared, index).eval().requires_grad_(False)
    facts = {"mean": prepared.mean, "std": prepared.std, "classes": names, "synthetic_index": index}
    return Imported("transformers", net, view, type(model).__name__, facts)
