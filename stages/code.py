"""Write down what code each stage runs.

Reads the code and requirements.lock; writes `artifacts/code/<stage>.txt` (`pipeline/core/code.py` says what is in it).
Every stage depends on its own file, so an edit of a comment runs this stage and no other. Run it with `dvc repro code`
or `python -m stages.code`.
"""

from pipeline.core.code import code_lines, stage_modules
from pipeline.core.files import atomic_dir, atomic_write_text
from pipeline.core.paths import CODE
from pipeline.run.command import run_main


def main() -> None:
    """One file for each stage; a file that has not changed is the same to the byte."""
    modules = stage_modules()
    with atomic_dir(CODE) as out:
        for stage, starts in modules.items():
            atomic_write_text(out / f"{stage}.txt", "\n".join(code_lines(*starts)) + "\n")
    print(f"code: {len(modules)} stages")


if __name__ == "__main__":
    run_main(main)
