"""The runs of a table: plan them, train them, measure their cost."""
