"""New recordings arrive: checked, trained on, compared with the champion, promoted or refused."""
