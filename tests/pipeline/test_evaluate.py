import numpy as np

from pipeline import plots
from pipeline.evaluate import history


def test_epochs_that_were_not_validated_leave_gaps_and_curves_are_drawn(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,accuracy,val_loss,val_accuracy\n0,1.5,0.2,,\n1,1.0,0.5,1.1,0.4\n")
    found = history(path)
    assert found["loss"] == [1.5, 1.0]
    assert np.isnan(found["val_accuracy"][0])
    assert found["val_accuracy"][1] == 0.4
    plots.curves(found, "accuracy", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5_000
