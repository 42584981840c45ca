import os
import platform
import subprocess
import sys

import pytest

from deepcluster.system.allocator import USERS_OWN

PAGES = """
import resource
from deepcluster.system.allocator import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * (48 * 2**20)  # glibc itself keeps up to 32 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = new_pages()
print(keep_freed_memory(), before, new_pages())
"""


def run(**variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in USERS_OWN} | variables
    done = subprocess.run([sys.executable, "-c", PAGES], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_what_is_freed_serves_the_next_batch_unless_the_user_has_settings_of_their_own() -> None:
    kept, before, after = run()
    assert kept == "True" and int(after) < 0.4 * int(before)  # one of four is new
    kept, before, after = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False" and int(after) > 0.9 * int(before)
