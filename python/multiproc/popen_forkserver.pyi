# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.popen_forkserver import *
