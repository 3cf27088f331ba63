"""Read by every Python process with this folder on its PYTHONPATH: patches the product as it is imported."""

import os

if os.environ.get("MUTANT_PATCHES"):
    from tests.mutants.importing import install

    install(os.environ["MUTANT_PATCHES"].split(","), os.environ["MUTANT_SEEN"])
