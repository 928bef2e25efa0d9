"""The parts of `bench/run`: servers, what is measured on them, and what is reported."""
