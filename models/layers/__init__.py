"""The layers the networks are made of. Each is serializable, and knows its output shape."""

from models.layers.conv import Conv as Conv
from models.layers.conv import Conv2D as Conv2D
from models.layers.norm import BatchNorm as BatchNorm
from models.layers.pool import AveragePool2D as AveragePool2D
from models.layers.pool import GlobalAveragePool2D as GlobalAveragePool2D
from models.layers.pool import GlobalMaxPool2D as GlobalMaxPool2D
from models.layers.pool import MaxPool2D as MaxPool2D
from models.layers.residual import ResidualBlock as ResidualBlock
