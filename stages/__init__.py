"""One file = one stage = one command: reads files, calls the library, writes files.

On the CPU a stage's sums run on one thread, where `OMP_NUM_THREADS` does not say otherwise: their number decides the
order of a sum and with it the last digit, so the same stage gives the same bytes whatever cores a machine has, alone
or beside others. The cores are used by stages side by side (`mien repro`) and by a stage's worker processes.
In a run over the graph a process that has the libraries loaded runs the stage (`pipeline/run/warm.py`).
"""

from pipeline.run.warm import hand_over, one_thread

one_thread()
hand_over()
