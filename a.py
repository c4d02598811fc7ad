import tensorflow as tf, numpy as np, gc, weakref
m=tf.Module()
m.v=tf.Variable(2.0)
@tf.function(input_signature=[tf.TensorSpec((None,2),tf.float32,name="x")])
def f(x):
    tf.debugging.assert_positive(x,"x must be positive.")
    return {"y":x*m.v}
@tf.function(input_signature=[tf.TensorSpec((None,),tf.string,name="image_bytes"), tf.TensorSpec((),tf.int32,name="k")])
def g(image_bytes,k):
    im=tf.map_fn(lambda b: tf.cast(tf.reduce_sum(tf.io.decode_png(b)),tf.int32),image_bytes,fn_output_signature=tf.int32)
    return {"y":im+k}
m.f=f;m.g=g
tf.saved_model.save(m,"toy/1",{"serving_default":f,"g":g})
r=tf.saved_model.load("toy/1",tags=["serve"])
s=dict(r.signatures)
for k,a in (("serving_default",dict(x=tf.constant([[1.,-1]]))),("g",dict(image_bytes=tf.constant([b"abc"]),k=tf.constant(1)))):
    try: s[k](**a)
    except Exception as ee: e=ee; print(type(e), repr(e.message)); pass
w=weakref.ref(r.v)
gc.collect(); gc.disable()
del r,s,e,a
print("freed by refcount", w() is None)
gc.collect(); print("freed by gc", w() is None)
from tensorflow.core.protobuf import saved_model_pb2
p=saved_model_pb2.SavedModel.FromString(open("toy/1/saved_model.pb","rb").read())
print(p.meta_graphs[0].meta_info_def.tags, list(p.meta_graphs[0].signature_def), p.meta_graphs[0].signature_def["g"])
