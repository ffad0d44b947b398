"""Networks that compute the same in another form, each exact to rounding.

Batch normalization folds into the layer before it; dense layers become convolutions that slide over
larger images, and back; convolutions become dense layers with sparse matrices, and back.
"""

from models.fold import fold_batch_norm as fold_batch_norm
from models.slide import to_convolutional as to_convolutional
from models.slide import to_dense as to_dense
from models.toeplitz import from_matrix as from_matrix
from models.toeplitz import to_matrices as to_matrices
from models.toeplitz import to_matrix as to_matrix
