"""The promises of a store, a file for each part of them; `StoreContract` is all of them."""
