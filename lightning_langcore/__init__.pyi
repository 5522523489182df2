"""Names of the package for type checkers; at run time each is imported when it is first asked for."""

from .callbacks.core_guard import CoreGuard
from .callbacks.multilingual_perplexity import MultilingualPerplexity
from .callbacks.noise_sensitivity.callback import NoiseSensitivity
from .callbacks.perturb_region import PerturbRegion
from .callbacks.plain_progress import PlainProgress
from .callbacks.weight_diff import WeightDiff
from .data.datamodule import TextDataModule
from .data.sources.base import Splitter
from .data.sources.conversations import ConversationFiles, HubConversations
from .data.sources.files import FileSource
from .data.sources.hub import HubSource
from .data.sources.phrasebook import PhrasebookConversations, PhrasebookSource
from .importance.outliers import find_outliers, outlier_region
from .importance.registry import register_region_kind, register_score
from .importance.scores import Score
from .importance.search import Query, locate
from .importance.selection import matched_region, random_region, select
from .importance.selectors import SelectionSpec
from .importance.statistics import CheckpointChanges, RecordedStatistics
from .metrics.perplexity import BitsPerByte, Perplexity
from .models.loading import load_model, load_tokenizer
from .models.parameters import candidates, named_shapes
from .models.safetensors_reader import Weights
from .monitoring.detector import NoiseRules
from .regions.overlap import overlaps
from .regions.perturbation import perturb_, perturbed
from .regions.region import Region
from .regions.single_weight import dimension_region
from .regions.weight_set import WeightSet
from .training.modules import ContinuedPretraining, SupervisedFineTuning
from .utils.errors import LangcoreError

__version__: str

__all__ = [
    "BitsPerByte",
    "CheckpointChanges",
    "ContinuedPretraining",
    "ConversationFiles",
    "CoreGuard",
    "FileSource",
    "HubConversations",
    "HubSource",
    "LangcoreError",
    "MultilingualPerplexity",
    "NoiseRules",
    "NoiseSensitivity",
    "Perplexity",
    "PerturbRegion",
    "PhrasebookConversations",
    "PhrasebookSource",
    "PlainProgress",
    "Query",
    "RecordedStatistics",
    "Region",
    "Score",
    "SelectionSpec",
    "Splitter",
    "SupervisedFineTuning",
    "TextDataModule",
    "WeightDiff",
    "WeightSet",
    "Weights",
    "candidates",
    "dimension_region",
    "find_outliers",
    "load_model",
    "load_tokenizer",
    "locate",
    "matched_region",
    "named_shapes",
    "outlier_region",
    "overlaps",
    "perturb_",
    "perturbed",
    "random_region",
    "register_region_kind",
    "register_score",
    "select",
]
