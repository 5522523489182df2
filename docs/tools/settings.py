"""The tables of docs/reference/settings.md, made from the models of the settings: ``python docs/tools/settings.py``."""

from pathlib import Path

from lightning_langcore.jobs.config.groups.base import described
from lightning_langcore.jobs.config.settings import settings_reference

PAGE = Path(__file__).parents[1] / "reference" / "settings.md"
START, END = "<!-- settings -->\n", "<!-- end -->\n"
_COMPONENTS = {"task.module": "task._target_", "trainer.trainer": "trainer._target_"}
_TITLES = {"": "Outside of groups", "TrainedModel": "model=tiny", "Model": "model=hub"}


def tables() -> str:
    """A heading, the summary of the model and a table of settings for each group."""
    parts = []
    for group, cls in settings_reference():
        title = _TITLES.get(cls.__name__) or _TITLES.get(group) or group
        rows = [
            f"| `{_COMPONENTS.get(name, name)}` | {expected} | {text} |"
            for name, expected, text in described(group.partition("=")[0], cls)
        ]
        summary = (cls.__doc__ or "").strip().partition("\n")[0]
        parts.append(
            "\n".join([f"## {title}", "", summary, "", "| setting | must be | meaning |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts).replace("<-", "←")


def with_tables(page: str) -> str:
    """The page with the tables between its two markers."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
