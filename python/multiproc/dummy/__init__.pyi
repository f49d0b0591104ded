# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.dummy import *
