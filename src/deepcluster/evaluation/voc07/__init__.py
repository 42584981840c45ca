"""PASCAL VOC 2007 classification: fine-tuning (fine_tuning.py) and linear SVMs (frozen_svm.py)."""
