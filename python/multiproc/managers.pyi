# SPDX-License-Identifier: MIT
# As in the standard library.
from multiprocessing.managers import *
from multiprocessing.managers import (
    DictProxy as DictProxy,
    ListProxy as ListProxy,
    Namespace as Namespace,
    RemoteError as RemoteError,
    Server as Server,
    ValueProxy as ValueProxy,
)
