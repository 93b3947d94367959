"""The paper's claims and the checks that decide them."""
