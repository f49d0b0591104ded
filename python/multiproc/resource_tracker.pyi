# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.resource_tracker import *
from multiprocessing.resource_tracker import (
    ResourceTracker as ResourceTracker,
)
