"""PASCAL VOC 2007: classification by fine_tuning.py and by linear SVMs (frozen_svm.py), detection/, segmentation/."""
