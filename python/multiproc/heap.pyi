# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.heap import *
from multiprocessing.heap import (
    Arena as Arena,
)
