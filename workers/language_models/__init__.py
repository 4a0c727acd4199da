"""Language models that write and judge texts, behind one interface."""
