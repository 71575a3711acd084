# As prompted-decoder_sam-vit-b_1xb4-20e_folders-1024, everything trained.
_base_ = './prompted-decoder_sam-vit-b_1xb4-20e_folders-1024.py'

lr = 5e-6
model = dict(backbone=dict(frozen=False, with_cp=True), frozen=[])
# Which prompts a session has is drawn: in some steps no box or no mask is embedded.
find_unused_parameters = True
