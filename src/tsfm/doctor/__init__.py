"""What ``tsfm doctor`` looks at: TDgpt, each installed family, and the host. Nothing is changed."""
