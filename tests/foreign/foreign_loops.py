"""Training loops and their data as others write them, for a monitor."""

import torch
import webdataset
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import FakeData

from foreign.foreign_case import Case
from foreign.foreign_weights import vit
from image_sets import encoded, pictures
from overfit_lab.models.adapt import Adapter
from overfit_lab.monitor.monitor import Monitor
from strangers import images

MEAN, STD = 0.5, 0.25
X, Y = images(20, side=8), torch.arange(20) % 4


def net(*more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 12), *more, nn.ReLU(), nn.Linear(12, 4))


def watching(data=lambda folder, option: (X, Y), model=net, settings=None, logits=None, probes=("gradient-norm",)):
    """A run that trains a step under a monitor, whose clean accuracy is that of the network's own answers.

    Args:
        settings: of the monitor, where the option is given.
        logits: the user's own call of the network; default the network itself.
    """

    def run(folder, option):
        network = model()
        monitor = Monitor(network, data(folder, option), probes=probes, **((settings or {}) if option else {}))
        split = monitor.data.splits["train"]
        x = split.x.float() / 255 if split.x.dtype == torch.uint8 else split.x
        functional.cross_entropy((logits or nn.Module.__call__)(network, x), split.y).backward()
        monitor.gradients_ready()
        monitor.epoch_ended()
        records = monitor.records.set_index(["probe", "field"])["value"]
        with torch.no_grad():
            right = ((logits or nn.Module.__call__)(network.eval(), x).argmax(1) == split.y).double().mean()
        assert abs(records["evaluation", "acc_clean"] - right) < 1e-6
        assert not probes or records["gradient-norm", "full"] > 0

    return run


def fake(*steps):
    """torchvision's made-up images."""
    return FakeData(20, (3, 8, 8), 4, transform=transforms.Compose(steps))


def normalised(folder, option):
    more = [] if option else [transforms.Normalize((MEAN,) * 3, (STD,) * 3)]
    return DataLoader(fake(transforms.ToTensor(), *more), batch_size=4)


def streamed(folder, option):
    with webdataset.ShardWriter(str(folder / "train-%06d.tar"), verbose=0) as writer:
        for i, pixels in enumerate(pictures(8)):
            writer.write({"__key__": f"{i:06d}", "png": encoded(pixels), "cls": i % 2})
    return (
        webdataset.WebDataset(str(folder / "train-000000.tar"), shardshuffle=False).decode("pil").to_tuple("png", "cls")
    )


def of_many_sizes(folder, option):
    sides = iter([8, 9] * 10)
    return fake(lambda image: image.resize((next(sides), 8)), transforms.PILToTensor())


def channels_last(folder, option):
    return (X.permute(0, 2, 3, 1) * 255).byte().numpy(), Y.numpy()


class Always(nn.Module):
    """Dropout that stays on, as for Monte Carlo averages."""

    def forward(self, x):
        return functional.dropout(x, 0.5, training=True)


HELD_LOOPS = "tests/monitor/test_loops.py::test_every_loop_is_measured_and_trains_as_it_does_alone"
LIGHTNING, TRANSFORMERS = (
    "tests/monitor/integrations/test_lightning.py",
    "tests/monitor/integrations/test_transformers.py",
)
LOOPS = [
    *(
        Case(what, "torch", held_by=HELD_LOOPS)
        for what in (
            "gradients accumulated over batches",
            "`GradScaler` and autocast",
            "two optimisers",
            "LBFGS and its closures",
            "`AveragedModel`, of which the average is measured",
            "`torch.compile(model)`",
            "`WeightedRandomSampler`",
            "batches of an iterable data set",
            "steps without epochs",
        )
    ),
    Case("numpy arrays of bytes", "numpy", watching(lambda *_: ((X * 255).byte().numpy(), Y.numpy()))),
    Case("a data set of images", "torchvision's FakeData", watching(lambda *_: fake(transforms.PILToTensor()))),
    Case(
        "train and val by two `SubsetRandomSampler`",
        "torchvision's ImageFolder",
        held_by="tests/monitor/test_sample_names.py::test_outcomes_are_joined_with_the_files_of_an_image_folder_split_by_samplers",
    ),
    Case(
        "a set with `image` and `label`",
        "datasets",
        held_by="tests/monitor/test_sample_names.py::test_rows_of_a_hugging_face_set",
    ),
    Case(
        "`Trainer.fit` with `LightningCallback`",
        "Lightning",
        held_by=f"{LIGHTNING}::test_records_are_those_of_a_plain_loop_and_nothing_changes",
    ),
    Case(
        "`fast_dev_run`",
        "Lightning",
        held_by=f"{LIGHTNING}::test_a_trial_leaves_the_run_folder_free_and_a_fit_that_goes_on_keeps_theta_0",
    ),
    Case(
        "`Trainer.train` with `TransformersCallback`",
        "transformers",
        held_by=f"{TRANSFORMERS}::test_records_are_those_of_a_plain_loop_and_nothing_changes",
    ),
    Case(
        "a loader whose transform normalises",
        "torchvision's Normalize",
        watching(
            normalised,
            settings={"normalize": ([MEAN] * 3, [STD] * 3)},
            logits=lambda network, x: network((x - MEAN) / STD),
        ),
        option="Monitor(normalize=(mean, std))",
        refused="train images go from -2 to 2; expected [0, 1]; give them as they are before normalisation, which "
        "goes inside the model: put_in_front(model, Normalize(mean, std)) of overfit_lab.models.normalize, or a "
        "Monitor's normalize=(mean, std)",
    ),
    Case(
        "a classifier that returns an object",
        "transformers",
        watching(
            lambda *_: (images(20), Y),
            vit,
            {"adapter": Adapter(keyword="pixel_values", output="logits")},
            lambda network, x: network(pixel_values=x).logits,
            probes=(),
        ),
        option='Monitor(adapter=Adapter(keyword="pixel_values", output="logits"))',
        refused="ViTForImageClassification: gives ImageClassifierOutput for one image; expected logits of shape (1, "
        "number of classes)",
        needs=("transformers",),
    ),
    Case(
        "a network that ends in a softmax; a line says so",
        "torch",
        held_by="tests/training/test_doubts.py::test_every_door_says_of_a_network_that_it_gives_probabilities_once",
    ),
    Case(
        "an iterable data set as the data to measure on",
        "webdataset",
        watching(streamed),
        refused="train: an iterable data set has no samples by number; give one with len and indices",
    ),
    Case(
        "images of many sizes",
        "torchvision",
        watching(of_many_sizes),
        refused="train: images differ in shape, such as (3, 8, 8) and (3, 8, 9); resize them in the data set's "
        "transform",
    ),
    Case(
        "channels last",
        "numpy",
        watching(channels_last),
        refused="train images have shape (20, 8, 8, 3); expected (N, C, H, W), channels first, C at most 4",
    ),
    Case(
        "labels one-hot",
        "torch",
        watching(lambda *_: (X, functional.one_hot(Y))),
        refused="train labels have shape (20, 4); expected (20,)",
    ),
    Case(
        "labels from 1 to 4, with four logits",
        "torch",
        watching(lambda *_: (X, Y + 1)),
        refused="label 4: the model gives 4 logits, so labels go from 0 to 3",
    ),
    Case(
        "dropout that stays on",
        "torch",
        watching(model=lambda: net(Always())),
        refused="gradient-norm: cannot be measured on this model: it answers the same image differently at each "
        "call, in eval mode too; leave gradient-norm out of probes",
    ),
    Case(
        "batch norm by the batch's own statistics",
        "torch",
        watching(model=lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), net())),
        refused="gradient-norm: cannot be measured on this model: a sample's logits depend on the others of its "
        "batch; leave gradient-norm out of probes",
    ),
]
