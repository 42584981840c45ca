"""The 2018 scripts' commands: `python -m deepcluster.compat2018 DIR --arch alexnet --sobel ...`. Next: __main__.py."""
