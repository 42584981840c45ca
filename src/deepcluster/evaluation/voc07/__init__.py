"""PASCAL VOC 2007 classification: fine-tuning and linear SVMs. Start at fine_tuning.py."""
