"""Container images without a registry and without an engine, made from Debian's packages in seconds.

    recipe.py      what an image is made of, read from a Dockerfile (the part of its language needed here)
    packages.py    Debian packages: which ones, fetched by apt; their files
    archive.py     layers, and the archive that `docker load` reads
    catalogue.py   our images: built once into a cache, loaded into engines
    seed.py        disks of new hosts that have images from the start

A Dockerfile's `apt-get install` becomes one layer: the files of the packages and of all they need, without what is
in the base. No package's scripts are run, so no root file system, no chroot and no engine is needed; packages that
only those scripts need are left out (packages.INSTALL_ONLY). `FROM debian:bookworm-slim` is a cut-down Debian: libc,
the base files and busybox for a shell. The same Dockerfiles work with `docker build` where there is a registry.
"""

from tests.testbed.images.catalogue import build, load, load_all

__all__ = ["build", "load", "load_all"]
