"""How well images are classified and pathologies located, and how sure that is."""
