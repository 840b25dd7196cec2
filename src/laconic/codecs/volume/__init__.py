"""Maps of densities (MRC) <-> .lac files: rounded as finely as what is known of them requires."""
