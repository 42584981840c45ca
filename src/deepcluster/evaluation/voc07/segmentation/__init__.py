"""PASCAL VOC 2007 segmentation: masks.py -> fcn.py -> training.py -> overlap.py; settings: evaluation.py."""
