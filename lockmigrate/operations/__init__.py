"""The product's verbs, one module each: no printing, no asking. Long ones are async iterators."""
