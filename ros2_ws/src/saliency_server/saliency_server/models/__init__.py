"""Models behind the saliency server: chats (vision-language models), detectors, masks. Nothing heavy is loaded until
a model is opened by its spec."""
