"""What is computed of scores, predictions and true classes; imports no other room of the evaluation."""
