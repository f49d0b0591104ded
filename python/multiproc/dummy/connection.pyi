# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.dummy.connection import *
from multiprocessing.dummy.connection import (
    Connection as Connection,
    Listener as Listener,
)
