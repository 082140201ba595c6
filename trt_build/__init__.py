"""From a trained ensemble to what runs: ONNX export, TensorRT engines, checks that both agree."""
