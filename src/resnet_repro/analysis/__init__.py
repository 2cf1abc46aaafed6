"""From networks and records to numbers: complexity, gradients, layer responses, statistics of claims."""
