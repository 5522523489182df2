"""Every notebook runs from top to bottom, shows what it promises, and is kept without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# 2 layers of 4 x 64 x 64 and 3 x 64 x 128 weights are 81,920 candidates; half of them are 10,240 bytes of bits, half of
# the columns (6 x 64 and 128 a layer) 512 numbers of 4 bytes
PRINTED = {
    "01_quickstart": ["restored: True", "frozen weights moved by 0.0"],
    "02_locate": [
        "178,240 weights, 81,920 of them candidates",
        "monolingual parts share nothing: True",
        "the file holds the same region: True",
        "4,100 weights, 5.00% of the candidates",
        "half of the weights: 50% of the candidates, 10,240 bytes of numbers",
        "half of the columns: 50% of the candidates, 2,048 bytes of numbers",
    ],
    "03_perturb": [
        "178,240 weights, 81,920 of them candidates",
        "weights in a region: 820 at 1%, 2,460 at 3%, 4,100 at 5%",
        "damaged: True",
        "the undo restored every bit: True",
        "massive dimensions: 0",
        "every bit unchanged: True",
    ],
    "04_data_and_noise": [
        "general to zh: 5.00 to 1",
        "with positions, the same as alone: True",
        "without, the same as alone: False",
        "clean: 0 of 240 steps flagged, 0 without a burst",
        "0 without a burst; 13 of 13 bursts caught",
        "7 documents with a burst, 7 left out",
    ],
}
NUM_FIGURES = {"01_quickstart": 0, "02_locate": 5, "03_perturb": 1, "04_data_and_noise": 1}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_is_kept_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs"
    assert not any(cell.get("execution_count") for cell in notebook.cells), "strip the execution counts"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    for line in PRINTED[path.stem]:
        assert line in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == NUM_FIGURES[path.stem]
