# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.reduction import *
from multiprocessing.reduction import (
    AbstractReducer as AbstractReducer,
    HAVE_SEND_HANDLE as HAVE_SEND_HANDLE,
)
