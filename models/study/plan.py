"""All numbers of the study: the families, how many pictures, how many steps a cell."""

from dataclasses import dataclass

from models.spec import ViewSpec

SIDE = 192  # every picture is SIDE x SIDE: neither size nor aspect can tell the classes apart
CROPS = ViewSpec(name="crops", kind="crops", size=192, tile=96)  # 2 x 2 native crops: the whole picture
MOSAIC = ViewSpec(name="mosaic", kind="mosaic", size=96, tile=32)  # 9 of the picture's 36 tiles
VIEWS = (CROPS, MOSAIC)

# Held out one at a time; the generators of a family take turns over the photographs.
FAMILIES: dict[str, tuple[str, ...]] = {
    "gan_noise": ("dcgan_face64",),
    "super_resolution": ("srvgg", "waifu2x", "cugan"),
    "style": ("style26",),
    "latent_autoencoder": ("taef2",),
    "own_vae": ("own_vae",),
}
NEVER = "text_to_image"  # ready-made pictures, trained on in no cell: the same unseen set for all
DETECTORS = ("pin_clip", "dgs_net", "masm")  # what the ensemble stacks
ADAPT_FROM = 0.75  # share of the tower's blocks that all variants share


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of everything; `FULL` is the study, a test runs less."""

    tower: str  # one whose joint space is its pooled space
    families: dict[str, tuple[str, ...]]  # family -> its generators
    photographs: dict[str, int]  # source -> how many
    ready_made: dict[str, int]  # folder of text-to-image pictures -> how many
    copies: int  # augmented copies a picture that the probes are fitted on, beside the untouched one
    vae_photographs: int  # none of them in the study
    vae_steps: int
    tune_steps: int
    method_steps: int
    pairs: int
    bank: int  # batches whose prefix is computed once; the methods go round them
    seeds: tuple[int, ...]
    draws: int  # of the bootstrap
    sweep: tuple[float, ...]  # other shares than ADAPT_FROM; three detectors, first seed
    tune_lr: float = 4e-4
    method_lr: float = 3e-4


FULL = Budget(
    tower="lite0",
    families=FAMILIES,
    photographs={"caltech101": 180, "caltech101_faces": 60, "clothing": 60},
    ready_made={"sd1_laion_prompts": 50, "portraits_sd3": 30},
    copies=2,
    vae_photographs=400,
    vae_steps=700,
    tune_steps=100,
    method_steps=45,
    pairs=12,
    bank=15,
    seeds=(0, 1, 2),
    draws=2000,
    sweep=(0.0, 0.5),
)
