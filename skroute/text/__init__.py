"""From prompts to models: an encoder, features of prompts, a router that reads them."""

from skroute.text._encoder import SentenceEncoder
from skroute.text._features import PromptFeatures
from skroute.text._router import TextRouter

__all__ = ["PromptFeatures", "SentenceEncoder", "TextRouter"]
