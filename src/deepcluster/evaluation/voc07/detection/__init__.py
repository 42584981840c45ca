"""PASCAL VOC 2007 detection: annotations.py -> detector.py -> training.py -> matching.py; settings: evaluation.py."""
